"""The demo job: the demo portal's accounts, ready to run."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from db.encryption import open_secret_box
from db.engine import transaction
from db.jobs import create_job
from db.models import ScheduleType
from db.schedules import Schedule
from db.viewers import Viewer
from portal_import.job_draft import draft_job
from settings import PROJECT_ROOT, get_settings


def create_demo_job(viewer: Viewer, zone: ZoneInfo) -> str:
    """Create it for the viewer, daily at 06:00 in their zone; returns its id."""
    settings = get_settings()
    draft = draft_job(
        name="Northwind demo bills",
        login_url=f"{settings.demo_url}/login",
        billing_url=f"{settings.demo_url}/billing",
        csv=(PROJECT_ROOT / "demo" / "accounts.csv").read_bytes(),
        schedule=Schedule(ScheduleType.DAILY, {"hour": 6, "minute": 0}, zone.key),
    )
    with transaction() as session:
        return create_job(session, viewer, draft, open_secret_box(settings), authorised=True, now=datetime.now(UTC)).id
