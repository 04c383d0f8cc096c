cimport cython

from fastmirror._core cimport Sampler, random64
from fastmirror.counts cimport RouteCounts, WorkerCounts
from fastmirror.proxy.attempts cimport RetryPolicy
from fastmirror.proxy.cors cimport CorsPolicy
from fastmirror.rules.request cimport Request
from fastmirror.rules.table cimport RouteTable
from fastmirror.timers cimport Wheel
from fastmirror.upstream.cluster cimport Cluster


cdef class Target:
    cdef readonly Cluster cluster       # None: `status` is answered
    cdef readonly list mirrors          # of Mirror: the route's and its own
    cdef readonly unsigned long long weight
    cdef readonly int status
    cdef readonly object request        # HeaderEdit
    cdef readonly object response
    cdef readonly bytes host            # None: the request's
    cdef readonly object path           # PathEdit
    cdef readonly bint edits            # the request is changed by any of them
    cdef readonly bint edits_response


cdef class RouteAction:
    cdef readonly str name
    cdef readonly list targets          # of Target
    cdef readonly unsigned long long total
    cdef readonly list mirrors          # of Mirror
    cdef readonly RouteCounts counts
    cdef readonly double timeout        # seconds; 0: none
    cdef readonly RetryPolicy retries
    cdef readonly long long max_body    # -1: what the context says
    # Injected faults: seconds, and a status; 0: none.
    cdef readonly double delay
    cdef readonly Sampler delayed
    cdef readonly int abort
    cdef readonly Sampler aborted
    cdef readonly CorsPolicy cors       # None: no part of it
    cdef public bint unchanged          # requests go on with nothing added
    cdef readonly object own            # OwnAnswer; None: requests are sent on

    @cython.locals(point="unsigned long long", index=Py_ssize_t, target=Target)
    cdef Target pick(self)


cdef class ProxyContext:
    cdef readonly Wheel wheel
    cdef readonly WorkerCounts counts
    cdef public RouteTable table        # the rules that hold for requests that come now
    cdef readonly RouteCounts no_route
    cdef public object access_log       # None: off
    cdef public bint leaving            # answers ask clients to go elsewhere
    cdef public bint draining           # and no more connections are taken
    cdef readonly set clients           # every downstream connection
    # Limits and habits: see options.py.
    cdef readonly long max_header_bytes
    cdef readonly long max_headers
    cdef readonly long max_uri
    cdef readonly long long max_body    # -1: no limit
    cdef readonly long max_connections  # 0: no limit
    cdef readonly double idle_timeout
    cdef readonly double head_timeout
    cdef readonly double request_timeout        # 0: none
    cdef readonly double connect_timeout
    cdef readonly bint forwarded_for
    cdef readonly bint request_id
    cdef readonly bint allow_connect
    cdef readonly bint allow_trace
    cdef dict hosts                     # what was read of the Host fields that came

    @cython.locals(found=tuple)
    cdef tuple host_and_port(self, bytes host)


cdef Target target_at(list targets, Py_ssize_t index)
