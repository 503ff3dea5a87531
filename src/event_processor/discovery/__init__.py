"""Finding devices: one small adapter for each convention that devices speak over MQTT, and ``Discovery``, which joins them.

An adapter reads announcements and tells the catalogue which devices and entities there are and how to read their topics. From
then on a state message costs one look-up. Nothing here raises for what a device sends: what makes no sense is left out, and a
sentence in ``Found.problems`` says which topic and why. Importing this package loads nothing else.
"""
