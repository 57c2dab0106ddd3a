"""`doorbell users`: all that operators do with users."""

from __future__ import annotations

from services.cli import certificates, digests, exports, personal, users

app = users.app
app.command("digest")(digests.digest)
app.command("export")(exports.export)
app.command("erase")(personal.erase)
app.command("certificate")(certificates.certificate)
