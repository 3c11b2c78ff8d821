data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  objects = "${aws_s3_bucket.models.arn}/${var.prefix}*"

  # The key can only be used through S3, even if these credentials leak.
  through_s3 = { StringEquals = { "kms:ViaService" = "s3.${data.aws_region.current.name}.amazonaws.com" } }

  # S3 reports a missing key as such only to clients that may list the bucket; others get 403. A condition on s3:prefix
  # would undo that, because a request for an object has no prefix. The bucket only has models.
  list_models = {
    Sid      = "ListModels"
    Effect   = "Allow"
    Action   = "s3:ListBucket"
    Resource = aws_s3_bucket.models.arn
  }

  pull_image = [for statement in [
    {
      Sid      = "LogInToECR"
      Effect   = "Allow"
      Action   = "ecr:GetAuthorizationToken"
      Resource = "*" # this action supports no other value
    },
    {
      Sid      = "PullImage"
      Effect   = "Allow"
      Action   = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      Resource = var.ecr_repository_arn
    },
  ] : statement if var.ecr_repository_arn != null]
}

resource "aws_iam_role" "server" {
  name_prefix = "${var.name}-"
  tags        = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "server" {
  name = "read-models"
  role = aws_iam_role.server.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat([
      {
        Sid      = "ReadModels"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource = local.objects
      },
      local.list_models,
      {
        Sid       = "DecryptModels"
        Effect    = "Allow"
        Action    = "kms:Decrypt"
        Resource  = aws_kms_key.models.arn
        Condition = local.through_s3
      },
    ], local.pull_image)
  })
}

resource "aws_iam_role_policy_attachment" "session_manager" {
  count      = var.session_manager ? 1 : 0
  role       = aws_iam_role.server.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "server" {
  name_prefix = "${var.name}-"
  role        = aws_iam_role.server.name
  tags        = var.tags
}

# For publishers: attach it to the role that runs `als-serve publish` and `als-serve promote`.
resource "aws_iam_policy" "publisher" {
  name_prefix = "${var.name}-publisher-"
  description = "Publish, promote and prune models in ${var.bucket_name}/${var.prefix}"
  tags        = var.tags

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "PublishModels"
        Effect = "Allow"
        Action = [
          "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:GetObjectVersion", "s3:PutObject",
          "s3:PutObjectTagging",
        ]
        Resource = local.objects
      },
      local.list_models,
      {
        Sid       = "EncryptModels"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"] # a multipart upload needs both
        Resource  = aws_kms_key.models.arn
        Condition = local.through_s3
      },
    ]
  })
}
