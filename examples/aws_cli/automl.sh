#!/usr/bin/env bash
# From a CSV file to an endpoint that answers, with the `aws` command, version 1 or 2.
#
#   eval "$(pilothouse env)"
#   examples/aws_cli/automl.sh train.csv diagnosis score.csv
#
# score.csv holds rows without a header and without the target.
set -euo pipefail

train=$1 target=$2 score=$3
name=cli-$(date +%m%d-%H%M%S)-$$
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Releases of version 2 before 2.13 do not know AWS_ENDPOINT_URL, so the command is told.
aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }

aws s3 mb "s3://$name"
aws s3 cp --no-progress "$train" "s3://$name/train/train.csv"

aws sagemaker create-auto-ml-job --auto-ml-job-name "$name" --role-arn "$PILOTHOUSE_ROLE_ARN" \
  --input-data-config "DataSource={S3DataSource={S3DataType=S3Prefix,S3Uri=s3://$name/train/}},TargetAttributeName=$target" \
  --output-data-config "S3OutputPath=s3://$name/output" \
  --auto-ml-job-config "CompletionCriteria={MaxCandidates=1},Mode=ENSEMBLING" \
  --model-deploy-config "AutoGenerateEndpointName=true" \
  --tags Key=team,Value=health

status() {
  aws sagemaker describe-auto-ml-job --auto-ml-job-name "$name" --query AutoMLJobStatus --output text
}
while [ "$(status)" = InProgress ]; do sleep 2; done

aws sagemaker list-candidates-for-auto-ml-job --auto-ml-job-name "$name" \
  --sort-by FinalObjectiveMetricValue --sort-order Descending \
  --query 'Candidates[].[CandidateName, FinalAutoMLJobObjectiveMetric.Value]' --output text

endpoint=$(aws sagemaker describe-auto-ml-job --auto-ml-job-name "$name" \
  --query ModelDeployResult.EndpointName --output text)
aws sagemaker wait endpoint-in-service --endpoint-name "$endpoint"
aws sagemaker-runtime invoke-endpoint --endpoint-name "$endpoint" \
  --content-type text/csv --body "fileb://$score" "$work/answers.csv"
cat "$work/answers.csv"

config=$(aws sagemaker describe-endpoint --endpoint-name "$endpoint" --query EndpointConfigName --output text)
model=$(aws sagemaker describe-endpoint-config --endpoint-config-name "$config" \
  --query 'ProductionVariants[0].ModelName' --output text)
aws sagemaker delete-endpoint --endpoint-name "$endpoint"
aws sagemaker delete-endpoint-config --endpoint-config-name "$config"
aws sagemaker delete-model --model-name "$model"
