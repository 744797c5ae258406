"""Several threads at one transfer: the first that fails ends the others, and so does whoever stops us."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait


def in_parallel(threads: int, jobs: Iterable[Callable[[], None]], stop: threading.Event) -> None:
    """Run every job. Raise what the first failed one raised, after all have ended.

    `stop` is set then, or when this thread is interrupted; jobs look at it.
    """
    with ThreadPoolExecutor(max_workers=threads, thread_name_prefix="bucket") as pool:
        futures = [pool.submit(job) for job in jobs]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            # In the order they failed would be nicer, but those that were merely stopped come after `stop`.
            failed = [future for future in futures if future.done() and future.exception() is not None]
            if failed:
                failed[0].result()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
