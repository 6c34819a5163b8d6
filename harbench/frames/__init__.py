"""Media -> tensors: decode, cache, sampling in time, transforms, the clip data set."""
