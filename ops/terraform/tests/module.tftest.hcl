# Applies the module with a mock provider and checks what would be created.

mock_provider "aws" {
  mock_resource "aws_s3_bucket" {
    defaults = { id = "shop-models", arn = "arn:aws:s3:::shop-models" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/0" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/publisher" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_ssm_parameter" {
    defaults = { insecure_value = "ami-0123456789abcdef0" }
  }
}

variables {
  image       = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/als-serve:0.1.0"
  bucket_name = "shop-models"
  vpc_id      = "vpc-1"
  subnet_id   = "subnet-1"
}

run "nobody_is_let_in_by_default" {
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.from_cidr_block) + length(aws_vpc_security_group_ingress_rule.from_security_group) == 0
    error_message = "A rule allows access that was not requested."
  }
}

run "metadata_takes_a_token_and_reaches_a_container" {
  assert {
    condition     = aws_instance.server.metadata_options[0].http_tokens == "required" && aws_instance.server.metadata_options[0].http_put_response_hop_limit == 2
    error_message = "IMDSv2 is not required, or its responses do not reach a container."
  }
}

run "models_are_not_deleted_with_the_rest" {
  assert {
    condition     = !aws_s3_bucket.models.force_destroy
    error_message = "A destroy deletes the models without force_destroy."
  }
}

run "models_are_deleted_where_it_is_asked_for" {
  variables {
    force_destroy = true
  }
  assert {
    condition     = aws_s3_bucket.models.force_destroy
    error_message = "A destroy with force_destroy stops at the bucket."
  }
}

run "the_server_may_read_models_and_change_nothing" {
  assert {
    condition     = toset(flatten([for statement in jsondecode(aws_iam_role_policy.server.policy).Statement : statement.Action])) == toset(["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "kms:Decrypt"])
    error_message = "The server's role has more or fewer permissions than reading models."
  }
  assert {
    condition     = jsondecode(aws_iam_role_policy.server.policy).Statement[0].Resource == "arn:aws:s3:::shop-models/models/*"
    error_message = "The server's role reaches beyond the prefix."
  }
}

run "an_ecr_repository_may_be_pulled_from" {
  variables {
    ecr_repository_arn = "arn:aws:ecr:eu-central-1:123456789012:repository/als-serve"
  }
  assert {
    condition     = contains([for statement in jsondecode(aws_iam_role_policy.server.policy).Statement : statement.Resource if statement.Sid == "PullImage"], var.ecr_repository_arn)
    error_message = "The role cannot pull the image."
  }
}

run "settings_and_unit_are_in_the_user_data" {
  variables {
    settings = { ALS_LOG_FORMAT = "json" }
  }
  assert {
    condition     = strcontains(aws_instance.server.user_data, "\nALS_LOG_FORMAT=json\nAWS_REGION=eu-central-1\nEND\n") && strcontains(aws_instance.server.user_data, "\n[Service]\n")
    error_message = "The user data lacks the settings or the systemd unit."
  }
  assert {
    condition     = length(aws_instance.server.user_data) < 16384
    error_message = "The user data is longer than EC2 allows."
  }
}

run "what_makes_no_sense_is_refused" {
  command = plan

  variables {
    prefix                  = "/models"
    allowed_cidr_blocks     = ["0.0.0.0/0"]
    settings                = { PATH = "/" }
    image                   = "als-serve"
    noncurrent_version_days = 0
  }
  expect_failures = [var.prefix, var.allowed_cidr_blocks, var.settings, var.image, var.noncurrent_version_days]
}

run "what_the_module_counts_on_is_not_set_otherwise" {
  command = plan

  variables {
    settings = { ALS_PORT = "9090" }
  }
  expect_failures = [var.settings]
}
