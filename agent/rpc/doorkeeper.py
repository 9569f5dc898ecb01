"""Stands in front of every call: admission first, and errors translated once on the way out."""

import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc

from agent.rpc.admission import Peer, Rule, judge
from agent.rpc.contact import Contact
from agent.rpc.refusals import TRANSLATED, status_of
from agent.rpc.shown import ShownCredentials

log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Continuation: TypeAlias = (
    "Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]]"
)


class Doorkeeper(grpc.aio.ServerInterceptor):
    def __init__(self, rule: Rule, shown: ShownCredentials, contact: Contact) -> None:
        self._rule = rule
        self._shown = shown
        self._contact = contact

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any] | None":
        handler: Any = await continuation(handler_call_details)
        if handler is None:
            # gRPC answers that there is no such method.
            return None
        method = handler_call_details.method
        make, serve = _KINDS[handler.request_streaming, handler.response_streaming]
        behaviour = getattr(handler, serve)
        wrap = self._streaming if handler.response_streaming else self._unary
        return make(wrap(method, behaviour), handler.request_deserializer, handler.response_serializer)  # type: ignore[no-any-return]

    def _unary(self, method: str, behaviour: Any) -> Any:
        async def serve(request: Any, context: Context) -> Any:
            await self._admit(method, context)
            try:
                return await behaviour(request, context)
            except TRANSLATED as error:
                await _refuse(method, error, context)

        return serve

    def _streaming(self, method: str, behaviour: Any) -> Any:
        """Behaviours are async generators, or coroutines that write to the context."""

        async def serve(requests: Any, context: Context) -> None:
            await self._admit(method, context)
            try:
                if inspect.isasyncgenfunction(behaviour):
                    async with contextlib.aclosing(behaviour(requests, context)) as answers:
                        async for answer in answers:
                            await context.write(answer)
                else:
                    await behaviour(requests, context)
            except TRANSLATED as error:
                await _refuse(method, error, context)

        return serve

    async def _admit(self, method: str, context: Context) -> None:
        peer = Peer.of(context.peer(), context.auth_context())
        refusal = judge(peer, method, self._rule, certificate_expired=self._shown.expired())
        if refusal is None:
            self._contact.note()
            return
        names = ", ".join(sorted(peer.names)) or "no name"
        log.warning("refused %s from %s (%s): %s", method, peer.address, names, refusal.reason)
        await context.abort(refusal.code, refusal.reason)


async def _refuse(method: str, error: Exception, context: Context) -> None:
    log.warning("%s: %s", method, error)
    await context.abort(status_of(error), str(error))


_KINDS: dict[tuple[bool, bool], tuple[Any, str]] = {
    (False, False): (grpc.unary_unary_rpc_method_handler, "unary_unary"),
    (False, True): (grpc.unary_stream_rpc_method_handler, "unary_stream"),
    (True, False): (grpc.stream_unary_rpc_method_handler, "stream_unary"),
    (True, True): (grpc.stream_stream_rpc_method_handler, "stream_stream"),
}
