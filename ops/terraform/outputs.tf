output "s3_uri" {
  description = "Where to publish: als-serve publish MODEL <this>."
  value       = "s3://${aws_s3_bucket.models.id}/${var.prefix}"
}

output "publisher_policy_arn" {
  description = "The policy for the role that publishes models."
  value       = aws_iam_policy.publisher.arn
}

output "kms_key_arn" {
  description = "The key that encrypts the models."
  value       = aws_kms_key.models.arn
}

output "instance_id" {
  description = "The instance, for aws ssm start-session --target <this>."
  value       = aws_instance.server.id
}

output "private_ip" {
  description = "The address of the server, on port 8080."
  value       = aws_instance.server.private_ip
}

output "security_group_id" {
  description = "The security group of the server."
  value       = aws_security_group.server.id
}

output "role_name" {
  description = "The role of the server, to attach more policies to."
  value       = aws_iam_role.server.name
}
