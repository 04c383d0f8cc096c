from fastmirror._head cimport Fields
from fastmirror.rules.request cimport Request


cdef class StickyCookie:
    cdef readonly bytes name
    cdef bytes attributes               # of Set-Cookie, each with its semicolon before it

    cdef bytes made_for(self, Request request)
    cdef Fields apply(self, Fields fields, bytes value)
