"""Home Assistant's MQTT discovery: what zigbee2mqtt, Tasmota, ESPHome and hundreds of others publish.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery describes it.
"""
