"""The relay, the listener and ``MQConnection`` on the embedded AMQP broker."""

from __future__ import annotations

from tests.embedded.adopt import adopt

ASKS_THE_NODE = "looks into, or sets up, a RabbitMQ node from inside"

globals().update(
    adopt(
        "tests.system.test_rabbit_facade",
        without={
            "test_the_relays_trial_connection_is_closed_again": ASKS_THE_NODE,
            "test_an_exchange_that_is_not_durable_is_taken_as_it_is_with_one_warning": ASKS_THE_NODE,
            "test_a_non_durable_exchange_is_made_again_after_its_broker_lost_it": "the broker is restarted",
            "test_without_permission_to_declare_an_existing_exchange_is_used": ASKS_THE_NODE,
            "test_what_neither_exists_nor_may_be_made_is_an_error_that_says_so": ASKS_THE_NODE,
            "test_heartbeats_are_served_while_run_sits_in_recv_pyobj_and_every_pipe_is_idle": ASKS_THE_NODE,
            "test_tls_with_a_private_authority_user_password_and_permissions": "the embedded broker serves no TLS",
            "test_a_lost_connection_ends_the_application_where_that_was_asked_for": ASKS_THE_NODE,
            "test_a_quorum_queue_is_had_by_option_and_delivers": ASKS_THE_NODE,
        },
    )
)
