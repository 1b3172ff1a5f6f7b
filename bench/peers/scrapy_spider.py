"""The same as a Scrapy spider, a cookie jar an account: `URL ACCOUNTS FOLDER`."""

import sys
import time
from pathlib import Path

import scrapy
from scrapy.crawler import CrawlerProcess

CONCURRENT = 64


class BillSpider(scrapy.Spider):
    name = "bills"

    def __init__(self, base, accounts, folder):
        super().__init__()
        self.base, self.accounts, self.folder = base, accounts, Path(folder)

    async def start(self):
        for number in range(self.accounts):
            yield scrapy.Request(
                f"{self.base}/login", self.sign_in, meta={"cookiejar": number}, dont_filter=True, priority=-number
            )

    def sign_in(self, response):
        number = response.meta["cookiejar"]
        account = f"user{number:05}"
        fields = {"user": account, "pass": f"secret-{account}"}
        yield scrapy.FormRequest.from_response(
            response, formdata=fields, callback=self.read, meta={"cookiejar": number}, dont_filter=True, priority=1
        )

    def read(self, response):
        cells = response.xpath("//tr[2]/td")
        yield response.follow(
            cells[5].xpath("a/@href").get(),
            self.store,
            meta={"cookiejar": response.meta["cookiejar"]},
            cb_kwargs={"number": cells[0].xpath("string()").get()},
            dont_filter=True,
            priority=2,
        )

    def store(self, response, number):
        (self.folder / f"{number}.pdf").write_bytes(response.body)


def main(base, accounts, folder):
    process = CrawlerProcess(
        {
            "CONCURRENT_REQUESTS": CONCURRENT,
            "CONCURRENT_REQUESTS_PER_DOMAIN": CONCURRENT,
            "DOWNLOAD_DELAY": 0,
            "LOG_ENABLED": False,
            "ROBOTSTXT_OBEY": False,
            "TELNETCONSOLE_ENABLED": False,
        }
    )
    process.crawl(BillSpider, base=base, accounts=accounts, folder=folder)
    began = time.perf_counter()
    process.start()
    print(accounts / (time.perf_counter() - began))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
