"""The targets that the settings name: `default`, those of tasks and summaries where they have their own, and
those of `targets`.

Rule: a target is known by its name, never by its URL. Summaries with a key of their own go to the default
upstream under that key, without the client's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from pydantic import SecretStr
from yarl import URL

from sidecar.metrics import Metrics
from sidecar.settings import RoutedTarget, Settings
from sidecar.settings.certificates import tls_context
from sidecar.settings.values import upstream_url
from sidecar.upstream.credentials import policy_of
from sidecar.upstream.pool import Member, Pool
from sidecar.upstream.router import Router
from sidecar.upstream.session_header import header_for
from sidecar.upstream.target import Address, Target, proxy_credential

__all__ = ["Targets", "targets_of"]


class Targets(NamedTuple):
    """Where requests go, by what they are for."""

    default: Target
    #: None where they go to the default as they came.
    tasks: Target | None
    summary: Target
    #: None where there are no others to go to.
    router: Router | None = None

    @property
    def chats(self) -> list[Target]:
        """Those that chats go to; of a name with several addresses the ones that are known by now."""
        routed = [each.target for pool in self.router.pools for each in pool.members] if self.router else []
        return [self.default, *routed]

    async def close(self) -> None:
        """Drop all connections."""
        own = (self.tasks, self.summary, *self.chats)
        for target in {id(each): each for each in own if each is not None}.values():
            await target.close()


def targets_of(settings: Settings, metrics: Metrics) -> Targets:
    """Needs a running loop. Raises ValueError if a file of a certificate cannot be used any more."""
    default = _default(settings, metrics)
    summary = _summary(settings, metrics) or default
    return Targets(default, _tasks(settings, metrics), summary, _router(settings, metrics, default))


def _default(settings: Settings, metrics: Metrics) -> Target:
    options, address = settings.target, _default_address(settings)
    key = options.api_key.get_secret_value()
    static = {**_static(settings), **_told_to_proxy(address)}
    policy = policy_of(settings, travel=not options.replace_credential, key=key, static=static)
    header = header_for(settings, address.base, is_upstream=True)
    return Target("default", address, policy, settings, metrics, header)


def _tasks(settings: Settings, metrics: Metrics) -> Target | None:
    if settings.tasks_base is None:
        return None
    key = settings.tasks.api_key.get_secret_value()
    address = _other_address(settings, settings.tasks_base, settings.tasks.proxy)
    travel, static = settings.tasks.forward_credential, _told_to_proxy(address)
    policy = policy_of(settings, travel=travel, key=key, static=static)
    header = header_for(settings, address.base, is_upstream=False)
    return Target("tasks", address, policy, settings, metrics, header)


def _summary(settings: Settings, metrics: Metrics) -> Target | None:
    """None where it is the default one."""
    key = settings.summary.api_key.get_secret_value()
    if settings.summary_base is not None:
        address = _other_address(settings, settings.summary_base, settings.summary.proxy)
        static = _told_to_proxy(address)
    elif key:
        address = _default_address(settings)
        static = {**_static(settings), **_told_to_proxy(address)}
    else:
        return None
    policy = policy_of(settings, travel=False, key=key, static=static)
    header = header_for(settings, address.base, is_upstream=settings.summary_base is None)
    return Target("summary", address, policy, settings, metrics, header)


def _router(settings: Settings, metrics: Metrics, default: Target) -> Router | None:
    if not settings.targets:
        return None
    first = Pool("default", None, is_agent=settings.upstream_agent)
    first.members = (Member(first, default, "default", settings.session.slots),)
    pools = []
    for options in settings.targets:
        pool = Pool(options.name, options, is_agent=options.agent, slots=settings.session.slots)
        urls = [upstream_url(each) for each in options.url]
        made = partial(_member, settings, metrics, pool, options)
        pool.members = tuple(made(url, str(url)) for url in urls)
        if options.resolve:
            pool.base, pool.made_at = urls[0], partial(_at_address, made, urls[0])
        pools.append(pool)
    return Router(first, pools)


def _at_address(made: Callable[[URL, str, str], Member], base: URL, address: str) -> Member:
    return made(base, address, address)


def _member(
    settings: Settings,
    metrics: Metrics,
    pool: Pool,
    options: RoutedTarget,
    base: URL,
    key: str,
    only_at: str = "",
) -> Member:
    target = _routed(settings, metrics, options, base, only_at)
    return Member(pool, target, key, settings.session.slots)


def _routed(settings: Settings, metrics: Metrics, options: RoutedTarget, base: URL, only_at: str) -> Target:
    """One URL of one of `targets`."""
    tls = tls_context(options.ca_file or settings.target.ca_file, options.client_cert, options.client_key)
    address = Address(base, options.proxy.get_secret_value(), tls, takes_paths=False, only_at=only_at)
    static = {name: value.get_secret_value() for name, value in options.headers.items()}
    policy = policy_of(
        settings,
        travel=options.forward_credential,
        key=options.api_key.get_secret_value(),
        static={**static, **_told_to_proxy(address)},
    )
    if not options.forward_credential:
        policy = policy._replace(names=policy.names | {"cookie"})
    header = header_for(settings, base, is_upstream=False)
    return Target(options.name, address, policy, settings, metrics, header)


def _told_to_proxy(address: Address) -> dict[str, str]:
    """Who asks it: with each request, where it is asked to pass that on rather than for a tunnel."""
    return proxy_credential(address.proxy) if address.proxy and address.base.scheme == "http" else {}


def _static(settings: Settings) -> dict[str, str]:
    return {name: value.get_secret_value() for name, value in settings.target.headers.items()}


def _default_address(settings: Settings) -> Address:
    options = settings.target
    tls = tls_context(options.ca_file, options.client_cert, options.client_key)
    return Address(settings.upstream_base, options.proxy.get_secret_value(), tls, takes_paths=True)


def _other_address(settings: Settings, base: URL, proxy: SecretStr) -> Address:
    tls = tls_context(settings.target.ca_file, "", "")
    return Address(base, proxy.get_secret_value(), tls, takes_paths=False)
