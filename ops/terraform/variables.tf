variable "name" {
  description = "What the instance, its role and its security group are called."
  type        = string
  default     = "als-serve"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "The name has 2 to 31 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "image" {
  description = "The image to run, with its registry and its tag or digest."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9.:-]+/[a-z0-9._/-]+(:[A-Za-z0-9_.-]+|@sha256:[0-9a-f]{64})$", var.image))
    error_message = "The image is named with its registry and a tag or digest: registry/repository:tag."
  }
}

variable "ecr_repository_arn" {
  description = "The ECR repository that the image is pulled from; null if it needs no credentials."
  type        = string
  default     = null

  validation {
    condition     = var.ecr_repository_arn == null || can(regex("^arn:[a-z-]+:ecr:", var.ecr_repository_arn))
    error_message = "The ARN of an ECR repository begins with arn:aws:ecr:."
  }
}

variable "bucket_name" {
  description = "The bucket to make for models."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits and hyphens."
  }
}

variable "prefix" {
  description = "Where in the bucket the models are."
  type        = string
  default     = "models/"

  validation {
    condition     = can(regex("^([A-Za-z0-9_-]+/)+$", var.prefix))
    error_message = "The prefix ends with a slash and does not begin with one: models/."
  }
}

variable "noncurrent_version_days" {
  description = "For how many days a deleted or replaced object can be brought back."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_version_days >= 1 && floor(var.noncurrent_version_days) == var.noncurrent_version_days
    error_message = "Days are a whole number of 1 or more."
  }
}

variable "force_destroy" {
  description = "Whether terraform destroy deletes the models too, with all their versions; it stops at them otherwise."
  type        = bool
  default     = false
}

variable "vpc_id" {
  description = "The VPC of the security group."
  type        = string

  validation {
    condition     = startswith(var.vpc_id, "vpc-")
    error_message = "The id of a VPC begins with vpc-."
  }
}

variable "subnet_id" {
  description = "The subnet of the instance: a private one, with a way out to S3 and to the image's registry."
  type        = string

  validation {
    condition     = startswith(var.subnet_id, "subnet-")
    error_message = "The id of a subnet begins with subnet-."
  }
}

variable "allowed_cidr_blocks" {
  description = "Who may ask for recommendations, by address."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for block in var.allowed_cidr_blocks : can(cidrhost(block, 0)) && !endswith(block, "/0")])
    error_message = "Each is a CIDR block, and none is everyone: als-serve has no authentication of its own."
  }
}

variable "allowed_security_group_ids" {
  description = "Who may ask for recommendations, by security group, such as that of a load balancer."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.allowed_security_group_ids : startswith(id, "sg-")])
    error_message = "The id of a security group begins with sg-."
  }
}

variable "instance_type" {
  description = "The kind of instance, of the image's architecture. Memory should hold the model twice."
  type        = string
  default     = "t3.medium"
}

variable "ami_id" {
  description = "The machine image; null takes the newest Amazon Linux 2023 for x86_64 when the instance is made."
  type        = string
  default     = null

  validation {
    condition     = var.ami_id == null || can(regex("^ami-", var.ami_id))
    error_message = "The id of a machine image begins with ami-."
  }
}

variable "volume_gb" {
  description = "The size of the disk in GB: it holds the image, the model file and ALS_KEEP_SNAPSHOTS imported models."
  type        = number
  default     = 20

  validation {
    condition     = var.volume_gb >= 8
    error_message = "The disk has at least 8 GB, as Amazon Linux needs."
  }
}

variable "settings" {
  description = "More settings of als-serve, such as { ALS_LOG_FORMAT = \"json\" }, but for those that the module gives."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name, value in var.settings : can(regex("^ALS_[A-Z0-9_]+$", name)) && !strcontains(value, "\n")])
    error_message = "Each setting is named ALS_… and has a value of one line."
  }

  # Another port is not published, another host not reached, another path not on the volume.
  validation {
    condition     = length(setintersection(keys(var.settings), ["ALS_HOST", "ALS_MODEL_PATH", "ALS_PORT", "ALS_S3_URI", "ALS_STATE_DIR"])) == 0
    error_message = "Host, port, paths and the URI in S3 are what the rest of the module counts on."
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
