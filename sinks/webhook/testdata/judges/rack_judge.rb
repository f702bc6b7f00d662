# Gives requests to Rack's parser of forms and prints what it makes of them; lines as for anymail_judge.py.
require "base64"
require "digest"
require "json"
require "rack"
require "stringio"

def files_of(params)
  params.flat_map { |_, v| v.is_a?(Array) ? v : [v] }.select { |v| v.is_a?(Hash) && v[:tempfile] }.map do |v|
    v[:tempfile].rewind
    v[:tempfile].binmode
    [v[:filename].dup.force_encoding("UTF-8"), Digest::SHA256.hexdigest(v[:tempfile].read)]
  end
end

def texts_of(params)
  params.reject { |_, v| v.is_a?(Hash) && v[:tempfile] }.transform_values do |v|
    case v
    when Hash then texts_of(v)
    when Array then v.reject { |e| e.is_a?(Hash) }
    else v
    end
  end
end

STDIN.each_line do |line|
  r = JSON.parse(line)
  body = Base64.strict_decode64(r["body"])
  env = {
    "REQUEST_METHOD" => "POST", "CONTENT_TYPE" => r["header"]["Content-Type"], "CONTENT_LENGTH" => body.bytesize.to_s,
    "rack.input" => StringIO.new(body), "QUERY_STRING" => "",
  }
  out = { "id" => r["id"], "status" => 200 }
  begin
    params = Rack::Request.new(env).POST
    raw = params["body-mime"] || params["email"] || params["message"]
    out["raw"] = Digest::SHA256.hexdigest(raw) if raw
    %w[body-mime email message].each { |k| params.delete(k) }
    out["files"] = files_of(params)
    out["params"] = texts_of(params)
    puts JSON.generate(out)
  rescue => e
    puts JSON.generate({ "id" => r["id"], "status" => 500, "why" => e.message.scrub })
  end
end
