"""The same on httpx: `URL ACCOUNTS FOLDER`."""

import asyncio
import sys
import time
from pathlib import Path

import httpx
import lxml.html

CONCURRENT = 64


async def visit(transport, base, account, folder):
    client = httpx.AsyncClient(transport=transport, base_url=base, follow_redirects=True, timeout=60)
    await client.get("/login")
    answer = await client.post("/login", data={"user": account, "pass": f"secret-{account}", "csrf": "a1b2c3"})
    cells = lxml.html.fromstring(answer.text).xpath("//tr[2]/td")
    number = cells[0].text_content()
    async with client.stream("GET", cells[5].find("a").get("href")) as document:
        with (folder / f"{number}.pdf").open("wb") as file:
            async for chunk in document.aiter_bytes(64 * 1024):
                file.write(chunk)


async def main(base, accounts, folder):
    waiting = iter(range(accounts))
    limits = httpx.Limits(max_connections=CONCURRENT, max_keepalive_connections=CONCURRENT)
    transport = httpx.AsyncHTTPTransport(limits=limits)  # shared: a pool for each account would cost it more

    async def work():
        for number in waiting:
            await visit(transport, base, f"user{number:05}", folder)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CONCURRENT)))
    print(accounts / (time.perf_counter() - began))  # noqa: T201
    await transport.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
