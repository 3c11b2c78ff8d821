variable "name" {
  description = "The name of the instance, its role and its security group."
  type        = string
  default     = "als-serve"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "The name must have 2 to 31 lower-case letters, digits and hyphens, and begin with a letter."
  }
}

variable "image" {
  description = "The image to run, with its registry and its tag or digest."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9.:-]+/[a-z0-9._/-]+(:[A-Za-z0-9_.-]+|@sha256:[0-9a-f]{64})$", var.image))
    error_message = "The image must have a registry and a tag or digest: registry/repository:tag."
  }
}

variable "ecr_repository_arn" {
  description = "The ECR repository that the image is pulled from; null if it needs no credentials."
  type        = string
  default     = null

  validation {
    condition     = var.ecr_repository_arn == null || can(regex("^arn:[a-z-]+:ecr:", var.ecr_repository_arn))
    error_message = "The ARN of an ECR repository must begin with arn:aws:ecr:."
  }
}

variable "bucket_name" {
  description = "The name of the bucket to create for models."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "The bucket's name must have 3 to 63 lower-case letters, digits and hyphens."
  }
}

variable "prefix" {
  description = "The prefix of the models in the bucket."
  type        = string
  default     = "models/"

  validation {
    condition     = can(regex("^([A-Za-z0-9_-]+/)+$", var.prefix))
    error_message = "The prefix must end with a slash and not begin with one: models/."
  }
}

variable "noncurrent_version_days" {
  description = "The number of days for which a deleted or replaced object can be restored."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_version_days >= 1 && floor(var.noncurrent_version_days) == var.noncurrent_version_days
    error_message = "The number of days must be a whole number of 1 or more."
  }
}

variable "force_destroy" {
  description = "Whether terraform destroy also deletes the models with all their versions; otherwise, it stops at them."
  type        = bool
  default     = false
}

variable "vpc_id" {
  description = "The VPC of the security group."
  type        = string

  validation {
    condition     = startswith(var.vpc_id, "vpc-")
    error_message = "The id of a VPC must begin with vpc-."
  }
}

variable "subnet_id" {
  description = "The subnet of the instance: a private one with a route to S3 and to the image's registry."
  type        = string

  validation {
    condition     = startswith(var.subnet_id, "subnet-")
    error_message = "The id of a subnet must begin with subnet-."
  }
}

variable "allowed_cidr_blocks" {
  description = "The CIDR blocks that may request recommendations."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for block in var.allowed_cidr_blocks : can(cidrhost(block, 0)) && !endswith(block, "/0")])
    error_message = "Each must be a CIDR block, but not one for everyone: als-serve has no authentication."
  }
}

variable "allowed_security_group_ids" {
  description = "The security groups that may request recommendations, such as a load balancer's."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.allowed_security_group_ids : startswith(id, "sg-")])
    error_message = "The id of a security group must begin with sg-."
  }
}

variable "instance_type" {
  description = "The instance type, for the image's architecture. The model should fit in memory twice."
  type        = string
  default     = "t3.medium"
}

variable "ami_id" {
  description = "The machine image; null means the newest Amazon Linux 2023 for x86_64 when the instance is created."
  type        = string
  default     = null

  validation {
    condition     = var.ami_id == null || can(regex("^ami-", var.ami_id))
    error_message = "The id of a machine image must begin with ami-."
  }
}

variable "volume_gb" {
  description = "The size of the disk in GB: it holds the image, the model file and ALS_KEEP_SNAPSHOTS imported models."
  type        = number
  default     = 20

  validation {
    condition     = var.volume_gb >= 8
    error_message = "The disk must have at least 8 GB, as Amazon Linux needs."
  }
}

variable "settings" {
  description = "More settings of als-serve, such as { ALS_LOG_FORMAT = \"json\" }, except those that the module sets."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name, value in var.settings : can(regex("^ALS_[A-Z0-9_]+$", name)) && !strcontains(value, "\n")])
    error_message = "Each setting must be named ALS_… and have a single-line value."
  }

  # Another port would not be published, another host not reachable, another path not on the volume.
  validation {
    condition     = length(setintersection(keys(var.settings), ["ALS_HOST", "ALS_MODEL_PATH", "ALS_PORT", "ALS_S3_URI", "ALS_STATE_DIR"])) == 0
    error_message = "The module itself sets the host, the port, the paths and the S3 URI."
  }
}

variable "session_manager" {
  description = "Whether an operator may open a shell through AWS Systems Manager; there is no SSH."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags for everything."
  type        = map(string)
  default     = {}
}
