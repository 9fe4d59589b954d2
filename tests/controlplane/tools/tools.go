//go:build tools

// Package tools keeps the programs that are built as they are in go.mod.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "helm.sh/helm/v4/cmd/helm"
)
