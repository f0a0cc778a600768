package testbed

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// mendObjects removes containers, images, networks and volumes that a fresh
// server hasn't, and what builds left.
func (m *mending) mendObjects(ctx context.Context) error {
	changed := slices.ContainsFunc(m.rest, func(d difference) bool {
		kind, _, _ := strings.Cut(d.key, " ")
		return slices.Contains([]string{"container", "image", "network", "volume", "docker-file", "docker-info"}, kind)
	})
	if !changed || !m.hasEngine() {
		return nil
	}
	o, err := m.objects(ctx)
	if err != nil {
		return nil //nolint:nilerr // it may be stopped: it is started, and there is another round
	}
	// Each container's end takes the kernel a while, one after another or not.
	failures := make(chan error, len(o.Containers))
	for _, c := range o.Containers {
		go func() { failures <- m.delete(ctx, "/containers/"+c.ID+"?force=1&v=1") }()
	}
	var errs []error
	for range o.Containers {
		errs = append(errs, <-failures)
	}
	predefined := []string{"bridge", "host", "none"} // a Docker that a test installed has them too
	for _, n := range o.Networks {
		if !slices.Contains(predefined, n.Name) {
			errs = append(errs, m.delete(ctx, "/networks/"+n.ID))
		}
	}
	for _, v := range o.Volumes.Volumes {
		errs = append(errs, m.delete(ctx, "/volumes/"+url.PathEscape(v.Name)+"?force=1"))
	}
	for _, i := range o.Images {
		kept, known := m.fresh.values["image "+i.ID]
		if !known {
			errs = append(errs, m.delete(ctx, "/images/"+url.PathEscape(i.ID)+"?force=1"))
			continue
		}
		for _, tag := range i.RepoTags {
			if !slices.Contains(strings.Fields(kept), tag) {
				errs = append(errs, m.delete(ctx, "/images/"+url.PathEscape(tag)))
			}
		}
	}
	errs = append(errs, m.ask(ctx, http.MethodPost, "/build/prune?all=1", nil, nil))
	return errors.Join(errs...)
}

// delete removes one object; one that is gone is fine.
func (m *mending) delete(ctx context.Context, path string) error {
	err := m.ask(ctx, http.MethodDelete, path, nil, nil)
	var refusal *engineError
	if errors.As(err, &refusal) && refusal.status == http.StatusNotFound {
		return nil
	}
	return err
}
