from fastmirror._head cimport Fields


cdef class ParsedHead:
    cdef readonly Fields fields
    cdef readonly bytes method          # of a request
    cdef readonly bytes target
    cdef readonly int status            # of a response
    cdef readonly bytes reason
    cdef readonly bint http10
    cdef bint complete


cdef int _parse(object parser, ParsedHead parsed, bytes head) except -1
cpdef ParsedHead parse_request(bytes head)
cpdef ParsedHead parse_response(bytes head)
