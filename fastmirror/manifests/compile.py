"""Manifests in, rules out: the order of the readers, and the order of the routes.

Invariant: what is returned is valid in full, as if read from a file, and means what the manifests
mean when the first route that matches wins; otherwise a ManifestError has every problem found.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from msgspec import structs

from fastmirror.manifests.addresses import is_host, parse_maps
from fastmirror.manifests.catalog import Catalog
from fastmirror.manifests.drafts import Actions, Draft, fewest, given, unique
from fastmirror.manifests.fields import Report
from fastmirror.manifests.gateway import read_http_routes
from fastmirror.manifests.istio import read_virtual_services
from fastmirror.manifests.istio_destinations import read_destination_rules
from fastmirror.manifests.istio_hosts import read_service_entries, read_workload_entries
from fastmirror.manifests.kubernetes import read_kubernetes
from fastmirror.manifests.selection import Selection, parse_selection
from fastmirror.manifests.source import ManifestError, Resource, read_resources
from fastmirror.rules.load import RulesError, decode_rules, encode_rules
from fastmirror.rules.model import HostPolicy, Match, Mirror, Route, Rules

DEFAULT_SHADOW_HOST = "-shadow"


def compile_manifests(
    paths: Sequence[str],
    *,
    maps: Sequence[str] = (),
    dns: bool = True,
    lenient: bool = False,
    shadow_host: str = DEFAULT_SHADOW_HOST,
    workload_labels: str | None = None,
    workload_namespace: str | None = None,
    gateways: Sequence[str] = (),
) -> tuple[Rules, list[str]]:
    """The rules of manifests, and warnings. ``shadow_host`` is a suffix for the copies' Host, or
    ``keep``; the last three, as given to the command, say for which proxy it is compiled.

    Raises ManifestError.
    """
    report = Report(lenient)
    catalog = Catalog(report, parse_maps(maps, report), dns)
    selection = parse_selection(workload_labels, workload_namespace, gateways, report)
    resources = read_resources(paths, report)
    _read_hosts(resources, catalog, selection)
    drafts = [
        *read_virtual_services(resources, catalog, selection),
        *read_http_routes(resources, catalog, selection),
    ]
    if shadow_host != "keep" and not is_host(f"a{shadow_host}"):
        report.problems.append(f"--shadow-host {shadow_host}: expected keep or a host's suffix")
    if report.problems:
        raise ManifestError(list(dict.fromkeys(report.problems)))
    services = catalog.services()
    routes = _routes(drafts, catalog)
    if shadow_host != DEFAULT_SHADOW_HOST:
        routes = _with_shadow_host(routes, shadow_host)
    rules = Rules(version=1, services=services, routes=routes)
    try:
        # What several rules of delegates have of one root is said once.
        warnings = list(dict.fromkeys(report.warnings))
        return decode_rules(encode_rules(rules), "compiled rules"), warnings
    except RulesError as error:
        raise ManifestError(str(error).splitlines()) from None


def _read_hosts(resources: Sequence[Resource], catalog: Catalog, selection: Selection) -> None:
    workloads = read_workload_entries(resources)
    read_service_entries(resources, catalog, workloads)
    read_kubernetes(resources, catalog, workloads)
    read_destination_rules(resources, catalog, selection)


def _routes(drafts: Sequence[Draft], catalog: Catalog) -> list[Route]:
    """The drafts in the order in which the first match is the right one.

    Neighbours that differ in their matches alone are one route.
    """
    ordered = sorted(drafts, key=lambda draft: draft.place)
    routes: list[Route] = []
    names: set[str] = set()

    def same(draft: Draft) -> tuple[int, tuple[str, ...]]:
        return id(draft.actions), tuple(draft.hosts)

    for _, group in groupby(ordered, same):
        pieces = list(group)
        actions: Actions = pieces[0].actions
        matches = [match for piece in pieces for match in piece.matches or [Match()]]
        name = unique(actions.name, names)
        names.add(name)
        routes.append(
            Route(
                name=name,
                to=actions.to,
                hosts=[form for host in pieces[0].hosts for form in catalog.forms(host)],
                match=fewest(matches, by_prefix=actions.by_prefix),
                redirect=actions.redirect,
                direct_response=actions.direct_response,
                mirrors=actions.mirrors,
                timeout=actions.timeout,
                cors=actions.cors,
                **given(
                    rewrite=actions.rewrite,
                    headers=actions.headers,
                    fault=actions.fault,
                    retries=actions.retries,
                ),
            )
        )
    return routes


def _with_shadow_host(routes: Sequence[Route], shadow_host: str) -> list[Route]:
    host: Any = "keep" if shadow_host == "keep" else HostPolicy(suffix=shadow_host)

    def renamed(mirrors: Sequence[Mirror]) -> list[Mirror]:
        return [structs.replace(mirror, host=host) for mirror in mirrors]

    return [
        structs.replace(
            route,
            to=[
                structs.replace(each, mirrors=renamed(each.mirrors)) if each.mirrors else each
                for each in route.to
            ],
            mirrors=renamed(route.mirrors),
        )
        for route in routes
    ]
