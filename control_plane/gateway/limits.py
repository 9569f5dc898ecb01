"""Every limit of the gateway in one place: sizes in bytes, waits in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    # What clients may send.
    request_body_bytes: int = 16 * 1024 * 1024
    request_body_s: float = 60.0
    # Longest silence while a body is being sent.
    request_body_gap_s: float = 10.0
    # Bodies above this are parsed off the event loop, a few at a time.
    parse_inline_bytes: int = 128 * 1024
    parse_at_once: int = 2
    calls_at_once: int = 4_096
    # So that one tenant leaves places to the others.
    calls_at_once_of_a_tenant: int = 1_024
    # How long a client may accept nothing of what is sent to it.
    client_stall_s: float = 60.0

    # Engines. A tunnel's round trip is below a second or the host is not worth waiting for.
    connect_s: float = 3.0
    # Queueing and prefill happen before the first content; a long prompt on a small card takes minutes.
    first_content_s: float = 300.0
    # Between two pieces of a stream that has begun.
    stream_gap_s: float = 60.0
    # A whole answer that is not streamed.
    whole_answer_s: float = 1_800.0
    response_headers_bytes: int = 64 * 1024
    response_body_bytes: int = 64 * 1024 * 1024
    error_body_bytes: int = 1024 * 1024
    event_bytes: int = 4 * 1024 * 1024
    # Read from an engine and not yet accepted by the client; reading pauses above it.
    read_ahead_bytes: int = 256 * 1024
    # vLLM's server closes a connection after 5 s without use: ours must give up first.
    idle_connection_s: float = 3.0
    idle_connections_per_engine: int = 64
    connections_per_engine: int = 1_024
    # A finished stream's last bytes after its end marker.
    linger_s: float = 5.0

    # Streams whose first content is late: headers, then comments that keep proxies from giving up.
    early_headers_s: float = 15.0
    ping_every_s: float = 15.0
    # A stream with a byte this young outlives the loss of its agent's telemetry.
    recent_byte_s: float = 5.0

    # Records. Own-card calls go on when the store takes longer than this, up to so many unwritten.
    record_wait_s: float = 2.0
    unwritten_calls: int = 1_000
    catch_up_every_s: float = 1.0
    # How often the running usage of a stream under a hold is made durable, for the case of a crash.
    checkpoint_every_s: float = 5.0
