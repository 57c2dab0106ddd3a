"""Game days: each alert is provoked for real, told by Alertmanager, mended by its runbook's own words, and resolved."""
