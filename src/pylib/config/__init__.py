"""Settings: ``app.conf``, overridden by secret files, overridden by the environment.

An option ``[rabbitmq] server_address`` is looked for, in this order, in

1. the environment variable ``RABBITMQ_SERVER_ADDRESS`` (section and option in upper case, anything else to ``_``),
2. a file of that name, in any case, in the secrets folder (``APP_SECRETS``, else ``/run/secrets`` where it exists),
3. ``app.conf`` in the current folder, or the file that ``APP_CONFIG`` names,
4. the ``fallback`` of the call.

Nothing is read before the first question is asked. A ``%`` in a value is a percent sign: there is no interpolation.
"""

from __future__ import annotations

from typing import Final

from pylib.config.appconfig import AppConfig
from pylib.config.models import load_settings
from pylib.config.redaction import looks_secret, redact

__all__ = ["AppConfig", "app_config", "load_settings", "looks_secret", "redact"]

app_config: Final = AppConfig()
"""The application's settings. Reads nothing until it is asked; ``app_config.reset()`` makes it read again."""
