"""Makes the passwords of deploy/compose.yaml, once: random ones, in files that only their owner can get at.

    python3 deploy/make_secrets.py [FOLDER]

Writes what is not there yet and says so; what is there stays. Needs Python 3.9 or newer and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import sys
from pathlib import Path

ROUNDS = 101  # what mosquitto_passwd takes


def say(line: str) -> None:
    """One line for the person who runs this."""
    sys.stdout.write(f"{line}\n")


def hashed(password: str) -> str:
    """A password as Mosquitto's password file wants it: PBKDF2 with SHA-512."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ROUNDS)
    return f"$7${ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def main(folder: Path) -> int:
    """Make them. 0, or 1 when only some of a pair are there, since the two would not fit each other."""
    hub, device, rabbit = (secrets.token_urlsafe(24) for _ in range(3))
    pairs = (
        {
            "mqtt_server_address": f"mqtt://hub:{hub}@mosquitto:1883\n",
            "mosquitto_passwd": f"hub:{hashed(hub)}\ndevices:{hashed(device)}\n",
            "devices_password": f"{device}\n",
        },
        {
            "rabbitmq_server_address": f"amqp://hub:{rabbit}@rabbitmq:5672\n",
            "rabbitmq.conf": f"default_user = hub\ndefault_pass = {rabbit}\n",
        },
    )
    # The folder keeps others out; the files have to be readable for the users that the containers run as.
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for pair in pairs:
        there = [name for name in pair if (folder / name).exists()]
        if there and len(there) < len(pair):
            say(f"{folder}: there is {', '.join(there)} and not the rest; delete these, or bring the others back.")
            return 1
        for name, text in pair.items() if not there else ():
            (folder / name).write_text(text)
            (folder / name).chmod(0o444)
            say(f"{folder / name} was made.")
    say(f"Devices log in to Mosquitto as 'devices', with the password in {folder / 'devices_password'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "secrets"))
