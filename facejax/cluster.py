"""The processes that train together: how they find each other, and errors when they do not."""

import contextlib
import os
import socket
import threading
from collections.abc import Iterator

import jax
from absl import logging

from facejax.errors import UserError
from facejax.interruptions import end_process

NOTICE = 20  # seconds without an answer after which the wait is logged


def join(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout: int = 300,
) -> None:
    """Connects this process with the others: on a TPU pod, under Slurm, Open MPI or Kubernetes, or as given.

    Without the first three arguments JAX looks for one of these itself; if there is none, the process works alone.

    Args:
      coordinator_address: `host:port` of process 0.
      num_processes: number of processes that train together.
      process_id: number of this one, from 0.
      timeout: seconds without an answer from the others after which the process ends with one line and the status 2,
        where JAX would abort it with a C++ stack trace.

    Raises:
      UserError: some of the first three arguments are missing or invalid, or the port is taken.
    """
    given = {
        "--coordinator_address": coordinator_address,
        "--num_processes": num_processes,
        "--process_id": process_id,
    }
    alone = all(value is None for value in given.values())
    if timeout < 1:
        raise UserError(f"--coordinator_timeout={timeout}: must be at least 1 second")
    if alone:
        whom = "the other processes that the cluster manager announced"
    else:
        _check(given)
        whom = (
            f"all {num_processes} processes to connect to {coordinator_address}"
            if process_id == 0
            else f"process 0 at {coordinator_address}"
        )
    with _limited_wait(whom, timeout):
        try:
            # Longer than our own limit, at which JAX would abort.
            jax.distributed.initialize(
                coordinator_address, num_processes, process_id, initialization_timeout=2 * timeout + 60
            )
        except ValueError as error:
            if not alone or "coordinator_address" not in str(error):
                raise
            logging.debug("No cluster found: this process works alone.")


def _check(given: dict[str, str | int | None]) -> None:
    missing = [flag for flag, value in given.items() if value is None]
    if missing:
        present = " and ".join(flag for flag in given if flag not in missing)
        raise UserError(
            f"{present} without {' and '.join(missing)}: give all three, or none if a cluster manager provides them"
        )
    address, num_processes, process_id = given.values()
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"--coordinator_address={address}: must be HOST:PORT of process 0, such as 10.0.0.1:8476")
    if num_processes < 1:
        raise UserError(f"--num_processes={num_processes}: must be at least 1")
    if not 0 <= process_id < num_processes:
        raise UserError(
            f"--process_id={process_id}: must be 0 to {num_processes - 1}, as --num_processes={num_processes}"
        )
    if process_id == 0:
        _check_free(int(port), address)


def _check_free(port: int, address: str) -> None:
    """Checks the port, because JAX crashes if it cannot listen."""
    family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a recently used port is free
        try:
            probe.bind(("", port))
        except OSError as error:
            raise UserError(
                f"--coordinator_address={address}: process 0 cannot listen on port {port}: {os.strerror(error.errno)}; "
                "choose another port, the same for all processes"
            ) from error


@contextlib.contextmanager
def _limited_wait(whom: str, timeout: int) -> Iterator[None]:
    """Context that ends the process if it lasts longer than `timeout` s: nothing else interrupts JAX's C++ code."""
    notice = threading.Timer(NOTICE, logging.info, (f"Still waiting for {whom}; giving up after {timeout} s in all",))
    line = f"facejax: waited {timeout} s (--coordinator_timeout) for {whom}: check that all of them are running, "
    end = threading.Timer(timeout, end_process, (2, line + "reach each other and were given the same address"))
    for timer in (notice, end):
        timer.daemon = True
        timer.start()
    try:
        yield
    finally:
        notice.cancel()
        end.cancel()
