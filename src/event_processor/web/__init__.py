"""The dashboard and the API: pages for people, ``/api`` for programs, both behind a login.

It runs in one thread of the hub with an asyncio loop (``server``). It reads the store and a mirror of the hub's state, and
asks for everything else by messages (``context``); it owns nothing of what the hub decides on.
"""
