# ruff: noqa
# fmt: off
# mypy: ignore-errors
"""The post's main(), word for word; only its elisions and its missing imports and constants are filled in.

app.conf: [rabbitmq] server_address, mq_exchange, device_topic. Prints each control message that arrives and publishes
a heartbeat five times a second until a signal ends it.
"""

import threading

import zmq
from zmq.error import ContextTerminated

from pika.exceptions import AMQPConnectionError, StreamLostError, ConnectionClosedByBroker

from pylib import APP_NAME, log
from pylib.app import AppThread
from pylib.handler import exception_handler
from pylib.process import SignalHandler
from pylib.threads import thread_nanny
from pylib.zmq import Closable, zmq_socket

from pylib import app_config
from pylib.rabbit import ZMQListener, RabbitMQRelay
from pylib import threads
from pylib.threads import die, bye
from pylib.zmq import zmq_term

HEARTBEAT_INTERVAL_SECONDS = 0.2


class Siren(AppThread, Closable):
    """Prints what the control listener forwards."""

    def __init__(self):
        AppThread.__init__(self, name=self.__class__.__name__)
        Closable.__init__(self, connect_url='inproc://app-thread')

    def run(self):
        with exception_handler(closable=self, and_raise=False, shutdown_on_error=True):
            while not threads.shutting_down:
                print(f'control {self.socket.recv_pyobj()}', flush=True)


def main():
    mq_server_address=app_config.get('rabbitmq', 'server_address')
    mq_exchange_name=app_config.get('rabbitmq', 'mq_exchange')
    mq_device_topic=app_config.get('rabbitmq', 'device_topic')
    # receives RabbitMQ messages
    mq_control_listener = ZMQListener(
        zmq_url='inproc://app-thread',
        mq_server_address=mq_server_address,
        mq_exchange_name=f'{mq_exchange_name}_control',
        mq_topic_filter=f'event.control.{mq_device_topic}',
        mq_exchange_type='direct')
    # sends RabbitMQ messages for any ZeroMQ inter-thread messages sent to zmq_url
    try:
        mq_relay = RabbitMQRelay(
            zmq_url='inproc://rabbit-mq-publisher',
            mq_server_address=mq_server_address,
            mq_exchange_name=mq_exchange_name,
            mq_topic_filter=mq_device_topic,
            mq_exchange_type='topic')
    except AMQPConnectionError as e:
        die(exception=e)
        bye()
    # filled in
    signal_handler = SignalHandler()
    siren = Siren()
    siren.start()
    mq_control_listener.start()
    mq_relay.start()
    # filled in
    device_info = {'outputs': [{'device_key': 'Garden Siren', 'type': mq_device_topic}]}
    publisher_socket = zmq_socket(zmq.PUSH)
    try:
        # filled in
        log.info(f'{APP_NAME} is running')
        # start thread nanny
        nanny = threading.Thread(name='nanny', target=thread_nanny, args=(signal_handler,))
        nanny.setDaemon(True)
        nanny.start()
        # start heartbeat loop
        publisher_socket.connect('inproc://rabbit-mq-publisher')
        while not threads.shutting_down:
            heartbeat_payload = {
                'device_info': device_info
            }
            publisher_socket.send_pyobj((f'event.heartbeat.{mq_relay.device_topic}', heartbeat_payload))
            threads.interruptable_sleep.wait(HEARTBEAT_INTERVAL_SECONDS)
        raise RuntimeWarning()
    except(KeyboardInterrupt, RuntimeWarning, ContextTerminated) as e:
        die()
        mq_control_listener.stop()
        try:
            mq_relay.close()
        except (AMQPConnectionError, ConnectionClosedByBroker, StreamLostError) as e:
            log.warning(f'When closing: {e!s}')
    finally:
        zmq_term()
    bye()


if __name__ == "__main__":
    main()
