"""celery-beat with django-celery-beat's database scheduler on Postgres: `setup JOBS`, `worker`, then `run`.

Messages go through kombu's file transport in BROKER_FOLDER.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import django
from celery import Celery
from django.conf import settings
from effects import record_effect

address = urlsplit(os.environ["EFFECTS_URL"])
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_beat"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": address.path.strip("/"),
            "USER": address.username,
            "HOST": parse_qs(address.query)["host"][0],
        }
    },
    USE_TZ=True,
    TIME_ZONE="UTC",
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()

broker = Path(os.environ["BROKER_FOLDER"])
broker.mkdir(exist_ok=True)
app = Celery("celery_beat", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(broker),
        "data_folder_out": str(broker),
        "control_folder": str(broker / "control"),
    },
    beat_scheduler="django_celery_beat.schedulers:DatabaseScheduler",
    enable_utc=True,
    timezone="UTC",
)


@app.task(name="record")
def record(job):
    record_effect(job)


def setup(jobs):
    from django.core.management import call_command
    from django.utils import timezone
    from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks

    call_command("migrate", verbosity=0)
    daily = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.DAYS)
    long_ago = timezone.now() - timedelta(days=2)
    PeriodicTask.objects.bulk_create(
        PeriodicTask(name=str(n), task="record", interval=daily, args=f"[{n}]", last_run_at=long_ago)
        for n in range(jobs)
    )
    PeriodicTasks.update_changed()


if __name__ == "__main__":
    if sys.argv[1] == "setup":
        setup(int(sys.argv[2]))
    elif sys.argv[1] == "worker":
        app.worker_main(["worker", "--pool", "solo", "--without-gossip", "--without-mingle", "--loglevel", "ERROR"])
    else:
        app.Beat(loglevel="ERROR", max_interval=1).run()
