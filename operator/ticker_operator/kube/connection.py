"""Where the API server is, and as whom we speak: the pod's own service account, or a kubeconfig.

Both the gateway and the watch start from the same `Configuration`. It is loaded anew at every log-in, because the
kubelet replaces the token file about hourly.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

IN_CLUSTER_VARIABLE: Final = "KUBERNETES_SERVICE_HOST"


class NoConnection(Exception):  # noqa: N818 - it says what is so
    """There is no usable description of an API server: which was tried, and what is wrong with it."""


async def load_configuration(kubeconfig: Path | None = None) -> Configuration:
    """How to reach the API server: `kubeconfig` if given, else the pod's service account, else the usual kubeconfig.

    Raises
    ------
    NoConnection
    """
    configuration = Configuration()
    try:
        if kubeconfig is None and os.environ.get(IN_CLUSTER_VARIABLE):
            load_incluster_config(client_configuration=configuration)
        else:
            await load_kube_config(
                config_file=None if kubeconfig is None else str(kubeconfig), client_configuration=configuration
            )
    except (ConfigException, OSError) as error:
        raise NoConnection(_words(kubeconfig, error)) from error
    # Like kopf: the API server is not reached through a proxy that the environment names for other things (and aiohttp
    # would ask a thread for it at every request).
    configuration.client_session_kwargs = {"trust_env": False}
    return configuration


def _words(kubeconfig: Path | None, error: Exception) -> str:
    """What was tried and what is wrong with it. The library calls a file that does not exist an incomplete one."""
    if kubeconfig is not None:
        return f"{kubeconfig}: {error if kubeconfig.is_file() else 'there is no such file'}"
    if os.environ.get(IN_CLUSTER_VARIABLE):
        return f"the pod's service account: {error}"
    return f"not in a pod, and the usual kubeconfig ($KUBECONFIG, else ~/.kube/config) cannot be used: {error}"


async def open_client(kubeconfig: Path | None = None) -> ApiClient:
    """A client of that API server. It connects on first use.

    Raises
    ------
    NoConnection
    """
    return ApiClient(await load_configuration(kubeconfig))
