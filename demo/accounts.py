"""What the demo portal knows about its customers: the true passwords and who behaves unusually.

`accounts.csv` beside this file is what a person uploads to Punctual. It agrees with this list except
for one password, which is wrong there on purpose. Everybody here is fictional.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

ACCOUNTS_CSV = Path(__file__).with_name("accounts.csv")


class Offer(Enum):
    """How a customer gets to the documents; each but the first is there for one customer."""

    LINKS = "a PDF and a CSV linked in each row"
    BUTTON = "the PDF behind a button, which posts a form with a token"
    ARCHIVE = "a PDF, and a ZIP of all files"
    BARE = "a list of PDFs, whose number, dates and amount only the PDF tells"
    CORRECTED = "as links, and from the second sign-in on the newest bill is a corrected one"


@dataclass(frozen=True)
class Account:
    """One customer. `bills_online` is how many of the most recent monthly bills the portal shows;
    `busy_answers` is how often the billing page answers 503 after each sign-in; `offer` is how its bills come."""

    username: str
    password: str
    name: str
    customer_number: str
    street: str
    town: str
    daily_kwh: float
    bills_online: int
    currency: str = "EUR"
    busy_answers: int = 0
    offer: Offer = Offer.LINKS


# fmt: off
ACCOUNTS = (
    Account("ada.meyer@example.com", "Demo-Ada-4821", "Ada Meyer", "00417203",
            "3 Quay Lane", "Eastmere", 8.4, 3),
    Account("ben.okafor@example.com", "Demo-Ben-7710", "Ben Okafor", "00417318",
            "18 Mill Road", "Eastmere", 11.2, 4),
    Account("clara.novak@example.com", "Demo-Clara-1954", "Clara Novak", "00418044",
            "7 Orchard Way", "Thornby", 6.9, 2, offer=Offer.BUTTON),
    Account("daniel.reyes@example.com", "Demo-Daniel-6037", "Daniel Reyes", "00418291",
            "52 Station Street", "Thornby", 9.7, 3, offer=Offer.ARCHIVE),
    Account("elif.kaya@example.com", "Demo-Elif-2288", "Elif Kaya", "00419006",
            "11 Harbour View", "Eastmere", 7.3, 4),
    Account("finn.larsen@example.com", "Demo-Finn-9043", "Finn Larsen", "00419557",
            "29 Beacon Hill", "Northcliff", 13.8, 2),
    Account("grace.tanaka@example.com", "Demo-Grace-3176", "Grace Tanaka", "00420113",
            "4 Chapel Close", "Northcliff", 5.6, 3, offer=Offer.BARE),
    # Mistyped in accounts.csv (two digits swapped): the one account with wrong credentials.
    Account("hugo.martin@example.com", "Demo-Hugo-5602", "Hugo Martin", "00420870",
            "90 High Street", "Thornby", 10.1, 3),
    Account("ines.costa@example.com", "Demo-Inês-8415", "Inês Costa", "00421325",
            "16 Lighthouse Row", "Northcliff", 7.9, 4),
    Account("jonas.weber@example.com", "Demo+Jonas&50%=?", "Jonas Weber", "00421996",
            "2 Ferry Terrace", "Eastmere", 12.4, 2),
    # A business customer, so that some amounts have a thousands separator.
    Account("kavya.rao@example.com", "Demo-Kavya-1367", "Rao's Bakery (Kavya Rao)", "00422480",
            "33 Market Square", "Thornby", 164.0, 4),
    Account("liam.byrne@example.com", 'Demo,Liam "7" 2290', "Liam Byrne", "00423052",
            "61 Canal Street", "Saltford", 8.8, 3, currency="GBP"),
    Account("mira.haddad@example.com", "Demo-Mira-4409", "Mira Haddad", "00423777",
            "8 Windmill Lane", "Saltford", 9.2, 2, currency="GBP"),
    # Signed up this month: the one account without bills.
    Account("noah.fischer@example.com", "Demo-Noah-6651", "Noah Fischer", "00424190",
            "25 Meadow Rise", "Northcliff", 7.0, 0),
    Account("olga.petrova@example.com", "Demo-Olga-7128", "Olga Petrova", "00424863",
            "47 Garden Street", "Eastmere", 6.2, 3),
    # The one account whose billing page answers 503 twice after every sign-in.
    Account("pablo.silva@example.com", "Demo-Pablo-3390", "Pablo Silva", "00425214",
            "14 Boathouse Lane", "Northcliff", 10.6, 3, busy_answers=2),
    Account("quinn.walsh@example.com", "Demo-Quinn-5873", "Quinn Walsh", "00425901",
            "70 Bridge Street", "Saltford", 7.5, 4, currency="GBP"),
    Account("rosa.lindqvist@example.com", "Demo-Rosa-2046", "Rosa Lindqvist", "00426338",
            "5 Cooper's Yard", "Thornby", 14.9, 2),
    Account("samir.aziz@example.com", "Demo-Samir-9917", "Samir Aziz", "00426745",
            "38 Juniper Avenue", "Eastmere", 8.1, 4, offer=Offer.CORRECTED),
    Account("tess.vandijk@example.com", "Demo-Tess-1580", "Tess van Dijk", "00427409",
            "12 Saltmarsh Road", "Northcliff", 9.9, 3),
)
# fmt: on

ACCOUNTS_BY_USERNAME = {account.username: account for account in ACCOUNTS}


def find_account(username: str) -> Account | None:
    """Look an account up by e-mail address, ignoring case and surrounding spaces."""
    return ACCOUNTS_BY_USERNAME.get(username.strip().lower())
