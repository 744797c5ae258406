"""Standard output whose reader may leave. Imports nothing that a short command would wait for."""

import io
import os
import sys


class _Output(io.TextIOWrapper):
    """Standard output whose reader may leave, as `| head` does: the command goes on, and its code holds."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:
            self._to_nobody()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            self._to_nobody()

    def _to_nobody(self) -> None:
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, self.fileno())
        os.close(nobody)


def outlive_the_reader() -> None:
    """Let nothing fail because nobody reads standard output any more."""
    output = sys.stdout
    if output is sys.__stdout__ and isinstance(output, io.TextIOWrapper):
        encoding, errors, by_line = output.encoding, output.errors, output.line_buffering
        sys.stdout = _Output(output.detach(), encoding, errors, line_buffering=by_line)
