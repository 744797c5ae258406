"""Forwards TCP connections, so that what listens on loopback is reached from a network namespace.

python -m tests.support.forward LISTEN TARGET PORT...: whoever connects to LISTEN:PORT talks to TARGET:PORT.
"""

import asyncio
import contextlib
import sys

PIECE_BYTES = 65536


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(PIECE_BYTES):
            writer.write(piece)
            await writer.drain()
    writer.close()


async def _serve(listen: str, target: str, port: int) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(target, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pipe(reader, back), _pipe(there, writer))

    return await asyncio.start_server(connected, listen, port)


async def main(listen: str, target: str, *ports: str) -> None:
    """Forward until the process is ended; say so once all ports are served."""
    servers = [await _serve(listen, target, int(port)) for port in ports]
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
