"""How a run names its worker: the id of a scheduler_service instance, or somebody of a Dask cluster."""

_OF_CLUSTER = " of Dask cluster "


def name_cluster_worker(machine: str, cluster: str) -> str:
    """The name of a worker on that machine of the cluster."""
    return f"{machine}{_OF_CLUSTER}{cluster}"


def cluster_ending(cluster: str) -> str:
    """What the names of all workers of the cluster end with."""
    return f"{_OF_CLUSTER}{cluster}"


def get_machine(worker: str) -> str | None:
    """The machine in the name of a cluster's worker; None for a scheduler_service, which is known by its id."""
    machine, of_cluster, _ = worker.partition(_OF_CLUSTER)
    return machine if of_cluster else None
