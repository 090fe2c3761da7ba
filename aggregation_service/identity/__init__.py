"""Who a device is: enrolment, the key that signs its requests, and nonces, so that no request serves twice."""
