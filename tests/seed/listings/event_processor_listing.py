# ruff: noqa
# fmt: off
# mypy: ignore-errors
"""The post's EventProcessor, word for word, with its publication in a run() of its own and a main().

app.conf: [rabbitmq] server_address, mq_exchange. Publishes one control message for the event that main() sends into
the event loop, and runs until a signal ends it.
"""

import zmq
from zmq.error import ContextTerminated

from pylib import app_config, threads
from pylib.handler import exception_handler
from pylib.process import SignalHandler
from pylib.rabbit import MQConnection
from pylib.threads import bye, die
from pylib.zmq import Closable, URL_WORKER_APP, zmq_socket, zmq_term


class EventProcessor(MQConnection, Closable):

    def __init__(self, mq_server_address, mq_exchange_name):
        MQConnection.__init__(
            self,
            mq_server_address=mq_server_address,
            mq_exchange_name=mq_exchange_name,
            # direct routing
            mq_exchange_type='direct',
            # no control message should live longer than 90s
            mq_arguments={'x-message-ttl': 90*1000})
        Closable.__init__(self, connect_url=URL_WORKER_APP)

    # filled in
    def run(self):
        with exception_handler(closable=self, and_raise=False, shutdown_on_error=True):
            while not threads.shutting_down:
                output_type, event_payload = self.socket.recv_pyobj()
                self._basic_publish(
                    routing_key=f'event.control.{output_type}',
                    event_payload=event_payload)


def main():
    signal_handler = SignalHandler()
    event_processor = EventProcessor(
        mq_server_address=app_config.get('rabbitmq', 'server_address'),
        mq_exchange_name=app_config.get('rabbitmq', 'mq_exchange') + '_control')
    event_processor.start()
    app_socket = zmq_socket(zmq.PUSH)
    app_socket.connect(URL_WORKER_APP)
    try:
        app_socket.send_pyobj(('siren', {'active_input': 'Front Door', 'output_triggered': 'Garden Siren'}))
        while not threads.shutting_down:
            threads.interruptable_sleep.wait(60)
        raise RuntimeWarning()
    except (KeyboardInterrupt, RuntimeWarning, ContextTerminated):
        die()
        event_processor.stop()
    finally:
        zmq_term()
    bye()


if __name__ == "__main__":
    main()
