"""The same for the demo portal, with its fields written into it: `URL ACCOUNTS FOLDER`."""

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
            page = lxml.html.fromstring(await answer.text())
        token = page.xpath("//input[@name='csrf_token']")[0].get("value")
        fields = {"email": account, "password": f"secret-{account}", "csrf_token": token}
        async with session.post(f"{base}/login", data=fields) as answer:  # leads to the account
            await answer.read()
        async with session.get(f"{base}/billing") as answer:
            page = lxml.html.fromstring(await answer.text())
        for link in page.xpath("//table[@id='bills']//tr[1]//a"):
            async with session.get(base + link.get("href")) as answer:
                with (folder / link.get("href").rpartition("/")[2]).open("wb") as file:
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
