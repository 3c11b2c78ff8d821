data "aws_ssm_parameter" "amazon_linux" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
}

resource "aws_security_group" "server" {
  name_prefix = "${var.name}-"
  description = "Requests for recommendations in, HTTPS out"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = var.name })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "from_cidr_block" {
  for_each          = toset(var.allowed_cidr_blocks)
  security_group_id = aws_security_group.server.id
  description       = "als-serve"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 8080
  to_port           = 8080
}

resource "aws_vpc_security_group_ingress_rule" "from_security_group" {
  for_each                     = var.allowed_security_group_ids
  security_group_id            = aws_security_group.server.id
  description                  = "als-serve"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 8080
  to_port                      = 8080
}

resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.server.id
  description       = "S3, KMS, the image's registry, packages"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_instance" "server" {
  ami                         = coalesce(var.ami_id, data.aws_ssm_parameter.amazon_linux.insecure_value)
  instance_type               = var.instance_type
  subnet_id                   = var.subnet_id
  vpc_security_group_ids      = [aws_security_group.server.id]
  iam_instance_profile        = aws_iam_instance_profile.server.name
  associate_public_ip_address = false
  user_data_replace_on_change = true
  tags                        = merge(var.tags, { Name = var.name })

  user_data = templatefile("${path.module}/../bastion-init.sh", {
    image       = var.image
    s3_uri      = "s3://${aws_s3_bucket.models.id}/${var.prefix}"
    environment = join("\n", [for name, value in merge({ AWS_REGION = data.aws_region.current.name }, var.settings) : "${name}=${value}"])
    unit        = file("${path.module}/../systemd/als-serve.service")
  })

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 2 # the container is one hop further away
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = var.volume_gb
    encrypted   = true
  }

  lifecycle {
    ignore_changes = [ami] # do not replace a running server for a newer Amazon Linux
  }

  # Before the first request, the role can read the bucket and the bucket is closed to others.
  depends_on = [aws_iam_role_policy.server, aws_s3_bucket_policy.models]
}
