cimport cython

from fastmirror.mirror.copy cimport Copy
from fastmirror.mirror.mirror cimport Mirror
from fastmirror.rules.request cimport Request


@cython.locals(index=Py_ssize_t)
cpdef int feed_copies(list copies, bytes data, Py_ssize_t size) except -1


@cython.locals(index=Py_ssize_t)
cpdef int flush_copies(list copies) except -1


@cython.locals(index=Py_ssize_t)
cpdef int end_copies(list copies) except -1


@cython.locals(index=Py_ssize_t)
cpdef int abort_copies(list copies) except -1


@cython.locals(index=Py_ssize_t)
cpdef int refuse_copies(list mirrors, Request request, int reason) except -1


cpdef Copy copy_at(list copies, Py_ssize_t index)
cpdef Mirror mirror_at(list mirrors, Py_ssize_t index)
