"""The external tier as the core of a call sees it: connecting to a vendor, asking it, reading its answer."""

from control_plane.economy import Tokens
from control_plane.gateway.connection import Connection
from control_plane.gateway.errors import Condition, Refusal
from control_plane.gateway.limits import Limits
from control_plane.gateway.request import InferenceRequest
from control_plane.gateway.vendor_answer import VendorRefusals
from control_plane.gateway.vendor_metering import (
    BYTES_PER_TOKEN,
    Estimate,
    NotAnAnswer,
    VendorMeter,
    tokens_of_answer,
)
from control_plane.gateway.vendor_pool import Resolve, VendorPool, limits_of, resolve_name
from control_plane.gateway.vendor_request import NotForVendors, fields_for_vendors, for_vendor, http_post
from control_plane.router import AtVendor
from control_plane.vendors import Vendor, Vendors


class VendorDispatch:
    """One per process. With no vendors nothing of it is ever used, since no plan has one."""

    def __init__(self, vendors: Vendors, limits: Limits, resolve: Resolve = resolve_name) -> None:
        self._vendors = vendors
        self._limits = {vendor.name: limits_of(vendor, limits) for vendor in vendors.all}
        self._pool = VendorPool(vendors, limits, resolve)

    def check(self, request: InferenceRequest) -> None:
        """Raises Refusal with the field that keeps the call away from vendors."""
        try:
            fields_for_vendors(request)
        except NotForVendors as reason:
            raise Refusal(Condition.FIELD_NOT_SHARED, str(reason), param=reason.param) from None

    async def connect(self, candidate: AtVendor, *, fresh: bool) -> Connection:
        """Raises UpstreamFailed."""
        return await self._pool.acquire(self._vendor(candidate), fresh=fresh)

    def request(self, candidate: AtVendor, request: InferenceRequest, max_tokens: int) -> bytes:
        """`max_tokens`: what was held for each choice. check() has let the request through."""
        body = for_vendor(request, candidate.model, max_tokens)
        return http_post(self._vendor(candidate), request.path, body, streamed=request.streamed)

    def reading(self, candidate: AtVendor, request: InferenceRequest, max_tokens: int) -> "VendorReading":
        vendor = self._vendor(candidate)
        return VendorReading(vendor, request, self._limits[vendor.name], max_tokens)

    def sweep(self) -> None:
        """Closes connections that have been idle for too long."""
        self._pool.sweep()

    def close(self) -> None:
        self._pool.close()

    def _vendor(self, candidate: AtVendor) -> Vendor:
        return self._vendors.by_name[candidate.model.vendor]


class VendorReading:
    """How one answer of a vendor is read. `max_tokens`: as in VendorDispatch.request()."""

    def __init__(self, vendor: Vendor, request: InferenceRequest, limits: Limits, max_tokens: int) -> None:
        self._request = request
        prompt = -(-request.prompt_characters // BYTES_PER_TOKEN) * request.prompts
        self._estimate = Estimate(prompt, max_tokens * request.choices * request.prompts)
        self.limits = limits
        self.refusals = VendorRefusals(vendor)

    def meter(self) -> VendorMeter:
        return VendorMeter(
            choices=self._request.choices * self._request.prompts,
            keep_usage=self._request.wants_usage,
            max_event_bytes=self.limits.event_bytes,
            estimate=self._estimate,
        )

    def tokens_of(self, body: bytes) -> tuple[Tokens | None, Tokens | None]:
        """Claimed, or else estimated. Raises AttemptFailed where the body is no answer."""
        try:
            return tokens_of_answer(body, self._estimate)
        except NotAnAnswer as reason:
            raise self.refusals.no_answer(str(reason)) from None
