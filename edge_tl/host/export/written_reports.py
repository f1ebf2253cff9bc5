"""The record of an export and its reports, for programs and for people, in the staging folder. Measures nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from edge_tl.device import bundle as bundles
from edge_tl.device.files import write_atomic
from edge_tl.device.readme import with_readme
from edge_tl.device.records.bench import BenchResult
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.verification import VerifyResult
from edge_tl.host.export.job import ExportJob
from edge_tl.host.export.pictures import pictures_record
from edge_tl.host.reports.markdown import bundle_markdown
from edge_tl.host.reports.page import write_bundle_page
from edge_tl.host.runs.run_summary import run_summary


class Measured(NamedTuple):
    """The bench and the verification of an export, and the steps of a prediction where they were asked for."""

    timing: BenchResult
    checked: VerifyResult
    steps: BenchResult | None


def write_reports(job: ExportJob, record: BundleRecord, measured: Measured) -> BundleRecord:
    """Write the record and the reports, and return it; a page that cannot be drawn is an entry."""
    staging = job.staging
    record = with_readme(staging, record)
    whole = replace(
        record,
        bench=measured.timing.to_json(),
        verify=measured.checked.to_json(),
        pictures=pictures_record(job, record),
        training=run_summary(job.saved, job.dataset).to_json(),
        steps=measured.steps and measured.steps.to_json(),
    )
    bundles.write_record(staging, whole)
    try:
        write_bundle_page(whole, staging / "report.html")
    except OSError:
        raise
    except Exception as error:  # the plots' library raises anything
        job.failed("report.html", error)
        record = replace(record, faults=dict(job.faults))
        whole = replace(whole, faults=record.faults)
        bundles.write_record(staging, whole)
    write_atomic(staging / "report.md", bundle_markdown(whole).encode())
    return record
