package console

import (
	"net/http"
)

// generation tells the number of the configuration in force.
func (a *API) generation(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]int{"generation": a.opts.Generation()})
}

// reload makes the instance read its configuration again. When that is refused, the old one stays in force and the
// answer says why.
func (a *API) reload(w http.ResponseWriter, r *http.Request) {
	number, err := a.opts.Reload(r.Context())
	if err != nil {
		reply(w, http.StatusConflict, map[string]any{"generation": number, "error": err.Error()})
		return
	}
	reply(w, http.StatusOK, map[string]int{"generation": number})
}
