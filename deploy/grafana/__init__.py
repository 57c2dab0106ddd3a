"""The Grafana dashboards, as the code that writes their JSON."""
