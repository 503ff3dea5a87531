# ruff: noqa
# fmt: off
# mypy: ignore-errors
"""The post's MqttSubscriber, word for word; only its elisions, its missing imports and a main() are filled in.

Between `__init__` and the rest the post leaves out where three attributes come from; main() sets them. The client
is Paho's own with its old callbacks, so an address is a host and the port is 1883.

app.conf: [mqtt] server_address, subscribe_topic, publish_topic. Prints the two messages that it forwards, sends a
command back to the broker for the first, and ends after the second.
"""

import json
from json import JSONDecodeError

import zmq
from zmq.error import ContextTerminated, ZMQError

import paho.mqtt.client as mqtt
from paho.mqtt.client import MQTT_ERR_SUCCESS, MQTT_ERR_NO_CONN

from pylib import app_config, log, threads
from pylib.threads import bye, die
from pylib.zmq import zmq_socket, zmq_term

from pylib.app import AppThread
from pylib.zmq import Closable
from pylib.handler import exception_handler


class MqttSubscriber(AppThread, Closable):

    def __init__(self):
        AppThread.__init__(self, name=self.__class__.__name__)
        Closable.__init__(self, connect_url='inproc://mqtt-publisher')
        # push socket to forward received MQTT messages to the event loop
        self.processor = self.get_socket(zmq.PUSH)
        # Paho client
        self._mqtt_client = None

    def close(self):
        Closable.close(self)
        try:
            self._mqtt_client.disconnect()
        except Exception:
            log.warning('Ignoring error closing MQTT socket.', exc_info=True)

    def on_connect(self, client, userdata, flags, rc):
        self._mqtt_client.subscribe(self._mqtt_subscribe_topics)

    def on_disconnect(self, client, userdata, rc):
        self._disconnected = True

    def on_message(self, client, userdata, msg):
        msg_data = None
        try:
            msg_data = json.loads(msg.payload)
        except JSONDecodeError:
            log.exception(f'Unstructured message: {msg.payload}')
            return
        # check assumptions on topic structure
        topic_base = '/'.join(msg.topic.split('/')[0:2])
        # unpack the message
        try:
            # filled in
            device_inputs = []
            active_devices = []
            # process msg_data
            for key, value in msg_data.items():
                if key.startswith('input_') and isinstance(value, dict):
                    device = {
                        'device_key': f"{msg_data['input_location']} {value['input_label']}",
                        'type': 'sensor',
                        'sample_value': value['sample_value'],
                    }
                    device_inputs.append(device)
                    if value['active']:
                        active_devices.append(device)
            # forward message data to application event loop
            self.processor.send_pyobj({
                topic_base: {
                    'data': {
                        'device_info': {'inputs': device_inputs},
                        'active_devices': active_devices
                    },
                }
            })
        except ContextTerminated:
            self.close()

    # noinspection PyBroadException
    def run(self):
        # forward messages to the application event loop
        # via the device heartbeat nanny
        self.processor.connect('inproc://heartbeat-nanny')
        self._mqtt_client = mqtt.Client()
        self._mqtt_client.on_connect = self.on_connect
        self._mqtt_client.on_disconnect = self.on_disconnect
        self._mqtt_client.on_message = self.on_message
        self._mqtt_client.connect(self._mqtt_server_address)
        # Python context manager to support basic connection and exception handling
        with exception_handler(closable=self, and_raise=False, shutdown_on_error=True):
            while not threads.shutting_down:
                # blocking happens here
                rc = self._mqtt_client.loop()
                if rc == MQTT_ERR_NO_CONN or self._disconnected:
                    # this terminates the application but without sending exceptions to Sentry.io
                    raise ResourceWarning(f'No connection to MQTT broker at {self._mqtt_server_address} (disconnected? {self._disconnected})')
                # check for messages to publish back to MQTT
                try:
                    # non-blocking ZMQ read
                    mqtt_pub_topic, message_data = self.socket.recv_pyobj(flags=zmq.NOBLOCK)
                    self._mqtt_client.publish(topic=mqtt_pub_topic, payload=message_data)
                except ZMQError:
                    # ignore, no data
                    pass


def main():
    heartbeat_nanny = zmq_socket(zmq.PULL)
    heartbeat_nanny.bind('inproc://heartbeat-nanny')
    subscriber = MqttSubscriber()
    subscriber._mqtt_server_address = app_config.get('mqtt', 'server_address')
    subscriber._mqtt_subscribe_topics = [(app_config.get('mqtt', 'subscribe_topic'), 1)]
    subscriber._disconnected = False
    subscriber.start()
    publisher = zmq_socket(zmq.PUSH)
    publisher.connect('inproc://mqtt-publisher')
    try:
        print(f'forwarded {heartbeat_nanny.recv_pyobj()}', flush=True)
        publisher.send_pyobj((app_config.get('mqtt', 'publish_topic'), json.dumps({'command': 'close'})))
        print(f'forwarded {heartbeat_nanny.recv_pyobj()}', flush=True)
        die()
    except ContextTerminated:
        # the subscriber has ended the application
        pass
    finally:
        zmq_term()
    bye()


if __name__ == "__main__":
    main()
