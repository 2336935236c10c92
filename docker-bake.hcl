// docker buildx bake            both images, CUDA
// docker buildx bake kind       the images for a laptop: CPU torch, loaded into the local engine
// VERSION=$(git rev-parse HEAD) REGISTRY=ghcr.io/acme/oppen docker buildx bake --push

variable "REGISTRY" {
  default = "localhost/oppen"
}

// `oppen register` names images by the commit.
variable "VERSION" {
  default = "0.1.0"
}

variable "REVISION" {
  default = "unknown"
}

variable "SOURCE" {
  default = "unknown"
}

// The commit's time: git log -1 --format=%ct
variable "SOURCE_DATE_EPOCH" {
  default = "0"
}

group "default" {
  targets = ["tasks", "training"]
}

group "kind" {
  targets = ["tasks", "training-cpu"]
}

target "_common" {
  context = "."
  args = {
    VERSION           = VERSION
    REVISION          = REVISION
    SOURCE            = SOURCE
    SOURCE_DATE_EPOCH = SOURCE_DATE_EPOCH
  }
}

target "tasks" {
  inherits   = ["_common"]
  dockerfile = "images/tasks.Dockerfile"
  tags       = ["${REGISTRY}/tasks:${VERSION}"]
}

target "training" {
  inherits   = ["_common"]
  dockerfile = "images/training.Dockerfile"
  args = {
    TORCH = "cuda"
  }
  tags = ["${REGISTRY}/training:${VERSION}"]
}

target "training-cpu" {
  inherits   = ["training"]
  args = {
    TORCH = "cpu"
  }
  tags = ["${REGISTRY}/training:${VERSION}-cpu"]
}
