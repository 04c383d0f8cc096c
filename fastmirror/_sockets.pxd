cpdef bytes peer_ip(int descriptor)
cpdef tuple destination(int descriptor, bytes peer, bint transparent)
