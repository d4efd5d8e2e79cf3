"""Several machines: what etcd, routers, engines and services run on, and what goes wrong there."""
