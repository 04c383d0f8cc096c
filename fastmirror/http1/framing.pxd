from fastmirror._head cimport Fields

cpdef int request_body(Fields fields) except -1
cpdef int response_body(int status, bint to_head, Fields fields) except -1
