"""What people would use instead, on the same work: each as its documentation says."""
