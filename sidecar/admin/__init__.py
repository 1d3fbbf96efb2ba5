"""What the sidecar says of itself, to orchestrators and operators.

health    /-/live, /-/ready, /-/metrics, /-/doctor
"""
