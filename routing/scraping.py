"""Prometheus' configuration for containers: the common one, but workers are found by their services' names."""

from __future__ import annotations

from routing.topology import Topology
from services.domain.errors import ConfigurationError

_JOB = "  - job_name: workers\n"
_BY_FILE = f"""{_JOB}    file_sd_configs:
      - files: [targets/workers.json]
"""
_PORT = 9100


def container_scraping(common: str, topology: Topology) -> str:
    """Return the configuration for containers, in which several of a pool may stand behind one name.

    common: the text of deploy/prometheus/prometheus.yml, which finds workers in a file.

    Raises:
        ConfigurationError: the text has no such job.
    """
    if _BY_FILE not in common:
        raise ConfigurationError(
            "deploy/prometheus/prometheus.yml: no job `workers` with targets/workers.json alone:"
            " put it back, or mend routing/scraping.py"
        )
    head = "# Written by `python -m routing render` from deploy/prometheus/prometheus.yml.\n"
    return head + common.replace(_BY_FILE, _JOB + _by_name(topology))


def _by_name(topology: Topology) -> str:
    names = "".join(f"          - worker-{pool}\n" for pool in topology.pools)
    return f"""    dns_sd_configs:
      - type: A
        port: {_PORT}
        refresh_interval: 5s
        names:
{names}    relabel_configs:
      - source_labels: [__meta_dns_name]
        regex: worker-(.+)
        target_label: pool
"""
