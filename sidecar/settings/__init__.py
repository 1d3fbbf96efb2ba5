"""Every setting: declared once, read once, explained from the declaration.

The map, each module above those that use it:

    session_profiles under which name which backend takes the id of a conversation, and who says so
    values           types of single values, and the sentence for a value that does not fit
    credentials      where clients and gateways put keys
    openings         how known background tasks begin
    prompts          the default instructions for the summary model
    section          what every section is
    access           the sections on access
    keeping          the sections on what is kept
    certificates     files with certificates and keys
    target           the section on how the upstream is reached
    routing          more targets, and retries
    connections      the limits and timeouts of client connections
    limits           the section on sizes and memory
    session          the section on the id of a chat that the upstream is told
    trimming         the section on how much history goes upstream
    sections         the settings with their defaults and meanings, section by section
    contradictions   which settings exclude each other
    model            all settings as one validated value
    exposed          warnings about files with secrets that others can read
    load             flag, environment, file, default: the only reader of the environment
    describe         the tables of the guides and `config/sidecar.toml`, generated from the declaration

Outside this package: `from sidecar.settings import Settings, load`.
"""

from sidecar.settings.access import Access, Admin, Keys
from sidecar.settings.describe import in_force, summary, table, template
from sidecar.settings.keeping import Encryption, Retention
from sidecar.settings.limits import Limits
from sidecar.settings.load import (
    SettingsError,
    exposed_files,
    get_environment,
    load,
    origins,
    set_environment,
)
from sidecar.settings.model import Settings
from sidecar.settings.routing import Retries, RoutedTarget
from sidecar.settings.sections import (
    Doctor,
    History,
    Identity,
    Logs,
    Restore,
    Summary,
    Tasks,
    Tenant,
    Timeouts,
)
from sidecar.settings.session import Session
from sidecar.settings.trimming import ModelTrim, Trim

__all__ = [
    "Access",
    "Admin",
    "Doctor",
    "Encryption",
    "History",
    "Identity",
    "Keys",
    "Limits",
    "Logs",
    "ModelTrim",
    "Restore",
    "Retention",
    "Retries",
    "RoutedTarget",
    "Session",
    "Settings",
    "SettingsError",
    "Summary",
    "Tasks",
    "Tenant",
    "Timeouts",
    "Trim",
    "exposed_files",
    "get_environment",
    "in_force",
    "load",
    "origins",
    "set_environment",
    "summary",
    "table",
    "template",
]
