"""The least that any importer on aiohttp does, with this portal's fields written into it: `URL ACCOUNTS FOLDER`."""

import asyncio
import sys
import time
from pathlib import Path

import aiohttp
import lxml.html

CONCURRENT = 64


async def visit(connector, base, account, folder):
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(connector=connector, connector_owner=False, cookie_jar=jar) as session:
        async with session.get(f"{base}/login") as answer:
            await answer.read()
        fields = {"user": account, "pass": f"secret-{account}", "csrf": "a1b2c3"}
        async with session.post(f"{base}/login", data=fields) as answer:  # leads to the bills
            page = lxml.html.fromstring(await answer.text())
        cells = page.xpath("//tr[2]/td")
        number = cells[0].text_content()
        async with session.get(base + cells[5].find("a").get("href")) as answer:
            with (folder / f"{number}.pdf").open("wb") as file:
                async for chunk in answer.content.iter_chunked(64 * 1024):
                    file.write(chunk)


async def main(base, accounts, folder):
    waiting = iter(range(accounts))
    connector = aiohttp.TCPConnector(limit=CONCURRENT)

    async def work():
        for number in waiting:
            await visit(connector, base, f"user{number:05}", folder)

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CONCURRENT)))
    print(accounts / (time.perf_counter() - began))  # noqa: T201
    await connector.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])))
